// How much of the machine the control groups of Linux leave to this process.
#pragma once

#include <string>

namespace fastseq {

// CPUs' worth of time, e.g. 1.5; infinity where there is no limit or no control group. `root` is put before
// every path that is read, so that a test can bring its own /proc and /sys.
double cpu_quota(const std::string& root = "");

}  // namespace fastseq
