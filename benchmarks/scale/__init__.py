"""Whether what a hospital asks for costs the same with a million studies as with a thousand."""
