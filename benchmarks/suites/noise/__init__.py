"""How often `pamc bench` calls two equal networks different, and how often it finds one that is slower."""
