"""AWS: sessions, identity, quotas, CloudWatch, S3, and the deployment of endpoints."""
