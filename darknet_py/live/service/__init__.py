"""The HTTP service: networks behind queues, requests and answers, the web application, its page."""
