"""Many clips at a time: lanes on all local devices, and what feeds them."""
