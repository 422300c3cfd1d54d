"""Does what lowering saves in multiply-accumulates show as time?"""
