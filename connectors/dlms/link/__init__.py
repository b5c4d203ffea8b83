"""Moves bytes between us and a meter, a converter or a modem. Nothing here knows what DLMS says with them.

Each kind of link is a class with the four methods of `contract.Link`; `opening.open_link` picks one by the scheme.
"""
