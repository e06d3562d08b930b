"""The command line, ``git theta``: one file a command, imported when it is invoked."""
