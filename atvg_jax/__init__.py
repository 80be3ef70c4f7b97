"""ATVGnet in JAX: audio → 68 facial landmarks → video of a talking face."""

__version__ = '0.2.0'
