"""Delivery to ThingsBoard over one MQTT session, through a durable outbox."""
