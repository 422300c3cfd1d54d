"""The same networks by every way that a user has: apart, in one graph, pruned, merged; all measured alike."""
