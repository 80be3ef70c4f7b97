"""LRW: Lip Reading in the Wild, words from the programmes of the BBC."""
