"""What `commands health` looks at: one file per area, each a function that notes what is well and what is not."""
