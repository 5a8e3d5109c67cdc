"""What is done with streams of events and the archive of them."""
