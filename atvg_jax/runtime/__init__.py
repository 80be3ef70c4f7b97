"""What a program runs on: devices, random keys, compiled programs, memory."""
