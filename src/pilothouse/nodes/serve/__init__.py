"""The sockets of simulated pods. `listeners` opens and closes them, `connection` finds out what is spoken, a file each protocol answers."""
