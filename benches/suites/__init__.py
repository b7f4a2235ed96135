"""The benchmark suites. A suite is a module here with `TITLE` and `run(settings) -> SuiteResult`."""
