"""What makes an APDU authentic and secret: AES-GCM protection, the HLS mechanisms, and the state of a secured association."""
