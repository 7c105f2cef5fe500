"""Cloud SQL Admin, v1 and v1beta4 by the same kinds. PostgreSQL only; other engines are refused."""
