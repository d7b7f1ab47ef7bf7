"""What servers draw, second by second: replayed from requests, read from recordings, made from training jobs."""
