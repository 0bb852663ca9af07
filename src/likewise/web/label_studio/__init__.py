"""Label Studio: the protocol of its ML backends, so that it shows likewise's masks to correct."""
