#!/bin/sh
# Compiles the workspace's own crates so that libFuzzer sees which code its bytes reach. Cargo calls
# it as its RUSTC_WORKSPACE_WRAPPER, so what they depend on is shared with every other build. All
# flags are of the stable compiler.
case " $* " in
*" --crate-name build_script_"*) exec "$@" ;;
esac
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
