"""From files to blocks of training steps."""
