"""What controllers are made of, whichever component runs them: the frame, its connections to the hub, and the manager that runs a set."""
