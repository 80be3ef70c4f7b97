"""Networks of others that judge pictures: LPIPS, SyncNet and the Inception of FID, as JAX functions of weights that a user
brings. None of the weights are in this package.
"""
