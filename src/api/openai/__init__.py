"""The API as clients of OpenAI's know it: `/v1/chat/completions`, `/v1/models`, `/v1/embeddings`."""
