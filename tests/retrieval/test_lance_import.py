"""LanceDB is imported without validators that nobody uses; whoever does use them finds them as they were."""

import subprocess
import sys

FIRST = """
import pydantic
call, config = pydantic.validate_call, pydantic.BaseModel.model_config
from foveal.retrieval.lance_import import lancedb
module = lancedb()
from lance_namespace_urllib3_client import ApiClient
from lance_namespace_urllib3_client.api.table_api import TableApi
from lance_namespace_urllib3_client.models import CountTableRowsRequest, QueryTableRequest

class Own(pydantic.BaseModel):
    number: int

print(module is lancedb() is __import__("lancedb"))
print(pydantic.validate_call is call and pydantic.BaseModel.model_config is config)
print(Own.__pydantic_complete__, QueryTableRequest.__pydantic_complete__)
print(CountTableRowsRequest(id=["a"], version=3).version)
count = TableApi(ApiClient()).count_table_rows
for wrong in (
    lambda: CountTableRowsRequest(id=["a"], version="three"), lambda: count(id=[], count_table_rows_request=1),
):
    try:
        wrong()
    except pydantic.ValidationError as error:
        print(error.error_count() > 0)
"""


def test_validators_are_built_when_they_are_used():
    found = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "True", "True", "False", "3", "True", "True"]


def test_a_library_is_opened_without_them(tmp_path):
    code = (
        "import sys; from foveal.retrieval.tables import connect; connect(sys.argv[1]).list_tables();"
        "from lance_namespace import QueryTableRequest; print(QueryTableRequest.__pydantic_complete__)"
    )
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]
