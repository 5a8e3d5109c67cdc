"""The words of regvault as types, and the ports that the layers above meet at. Pure."""
