"""The links of the chain from a meter to ThingsBoard, each looked at by itself; `commands diagnose` shows them."""
