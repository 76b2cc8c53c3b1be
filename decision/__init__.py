"""What is allowed, on which model, at what cost, and why. Pure: no clock, no environment, no I/O."""
