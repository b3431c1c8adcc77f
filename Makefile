# Any Python 3 finds the one that is needed (3.11 or later); everything else is in deploy/.
PYTHON := $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,$(shell command -v $(name))))

.PHONY: run test bench scale soak writing check

run:
	@$(or $(PYTHON),python3) deploy/run.py

test:
	@$(or $(PYTHON),python3) deploy/test.py

bench:
	@$(or $(PYTHON),python3) benchmarks/run.py compare $(ARGS)

scale:
	@$(or $(PYTHON),python3) benchmarks/run.py scale.measure $(ARGS)

soak:
	@$(or $(PYTHON),python3) benchmarks/run.py soak.main $(ARGS)

writing:
	@$(or $(PYTHON),python3) benchmarks/run.py writing $(ARGS)

check:
	@.ci/run
