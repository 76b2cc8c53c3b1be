"""Workers: who does what is due, on any number of machines."""
