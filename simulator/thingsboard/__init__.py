"""An MQTT server that behaves, and misbehaves, as ThingsBoard does.

`packets`, `wire` and `codec` are MQTT 3.1.1 and 5; `payload`, `answer`, `limits` and `application` are ThingsBoard's
rules, without a socket; `connection` and `stand_in` put both on a port. Start it with `BackgroundStandIn` from
synchronous code, `StandIn` from asyncio, or `python -m simulator.thingsboard`.
"""
