#include "base/quota.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

namespace fastseq {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

double ratio(double quota, double period) { return quota > 0 && period > 0 ? quota / period : kNoLimit; }

// Version 2: one file "200000 100000" or "max 100000", in microseconds.
double quota_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max") return kNoLimit;
  return ratio(std::atof(quota.c_str()), period);
}

// Version 1: two files; a quota of -1 is none.
double quota_v1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  if (!(quota_file >> quota) || !(period_file >> period)) return kNoLimit;
  return ratio(quota, period);
}

// A group is bound by its parents too. Inside a container the path may be the host's, of which only the top
// exists.
double least_on_the_way_up(double (*quota)(const std::string&), const std::string& mount, std::string path) {
  double least = kNoLimit;
  for (;;) {
    while (!path.empty() && path.back() == '/') path.pop_back();
    least = std::min(least, quota(mount + path));
    if (path.empty()) return least;
    path.erase(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

bool lists_cpu(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

}  // namespace

double cpu_quota(const std::string& root) {
  double least = kNoLimit;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // hierarchy:controllers:path
    std::istringstream fields(line);
    std::string hierarchy, controllers, path;
    std::getline(fields, hierarchy, ':');
    std::getline(fields, controllers, ':');
    std::getline(fields, path);
    const std::string mount = root + "/sys/fs/cgroup";
    if (controllers.empty()) {
      least = std::min(least, least_on_the_way_up(quota_v2, mount, path));
    } else if (lists_cpu(controllers)) {
      least = std::min(least, least_on_the_way_up(quota_v1, mount + "/" + controllers, path));
      least = std::min(least, least_on_the_way_up(quota_v1, mount + "/cpu", path));
    }
  }
  return least;
}

}  // namespace fastseq
