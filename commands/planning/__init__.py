"""What a configuration will cost, worked out from it alone: time on the lines, processors, memory, disk, messages."""
