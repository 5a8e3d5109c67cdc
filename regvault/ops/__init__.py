"""One verb a module: what regvault does, without a command line around it."""
