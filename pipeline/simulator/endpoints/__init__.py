"""What the simulator serves: one file an endpoint, each of which reads a body into a call and answers it."""
