"""What the command can do, one file a group: `add` puts its commands into the parser, a function each runs them."""
