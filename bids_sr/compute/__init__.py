"""Resources of the machine and their use: device, threads, memory, environment."""
