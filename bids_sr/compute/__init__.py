"""What the machine has and how much of it is used: device, threads, memory, environment."""
