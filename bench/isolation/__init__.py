"""The champion beside challengers that misbehave: what of it can be felt?"""
