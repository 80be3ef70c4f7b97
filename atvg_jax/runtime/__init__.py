"""What programs run on: devices and processes, random keys, the cache of compiled programs, memory."""
