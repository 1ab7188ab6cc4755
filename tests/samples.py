"""The two configuration files that deployments have today, word for word (DESIGN.md)."""

COMPANY = """\
[search]
host = https://opensearch.company.com
index_alias = utilities-docs
username = search_user
timeout_s = 5.0
[chat]
provider = azure
model = gpt-4
api_base = https://openai.company.com
api_version = 2024-06-01
[embed]
provider = azure
model = text-embedding-ada-002
dims = 1536
"""
BANK = """\
[search]
host = https://opensearch.jpmchase.net
use_aws_auth = true
timeout_s = 10.0
[azure_openai]
api_key = your-api-key-here
[environment]
cloud_profile = jpmc_azure
jpmc_user_sid = ${JPMC_USER_SID}
"""
