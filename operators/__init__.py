"""What happens between meters and ThingsBoard: one file per node type, no I/O."""
