"""Does the jobs: fetches, decodes, finds the dominant speaker, embeds the voice."""
