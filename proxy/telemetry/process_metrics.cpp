// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <malloc.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include "base/io/file.h"
#include "proxy/telemetry/exposition.h"

// Of whichever allocator the program was linked with; null when it is another.
extern "C" {
[[gnu::weak]] int mallctl(const char* name, void* old, std::size_t* old_size, void* fresh,
                          std::size_t fresh_size);
[[gnu::weak]] std::size_t __sanitizer_get_current_allocated_bytes();  // NOLINT(bugprone-reserved-identifier)
}

namespace heddle::proxy {
namespace {

// What the program holds of the heap, without what the allocator keeps for later.
std::size_t allocated_bytes() {
  if (__sanitizer_get_current_allocated_bytes != nullptr) return __sanitizer_get_current_allocated_bytes();
  if (mallctl == nullptr) return ::mallinfo2().uordblks;
  std::uint64_t epoch = 1;  // jemalloc(3): writing it refreshes the statistics
  mallctl("epoch", nullptr, nullptr, &epoch, sizeof epoch);
  std::size_t allocated = 0;
  std::size_t size = sizeof allocated;
  mallctl("stats.allocated", &allocated, &size, nullptr, 0);
  return allocated;
}

// Fields of /proc/self/stat (proc(5)) after the command's closing parenthesis; field 3 is index 0.
std::vector<std::string> stat_fields() {
  std::vector<std::string> fields;
  const auto text = read_file("/proc/self/stat", 4096);
  if (!text) return fields;
  const auto close = text->rfind(')');
  if (close == std::string::npos) return fields;
  std::size_t at = close + 2;
  while (at < text->size()) {
    const auto end = text->find_first_of(" \n", at);
    fields.push_back(text->substr(at, end - at));
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return fields;
}

double start_time_seconds(const std::string& ticks_after_boot) {
  timespec now{};
  timespec up{};
  clock_gettime(CLOCK_REALTIME, &now);
  clock_gettime(CLOCK_BOOTTIME, &up);
  const double boot =
      static_cast<double>(now.tv_sec - up.tv_sec) + static_cast<double>(now.tv_nsec - up.tv_nsec) / 1e9;
  return boot + std::strtod(ticks_after_boot.c_str(), nullptr) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

std::uint64_t open_descriptors() {
  DIR* folder = opendir("/proc/self/fd");
  if (!folder) return 0;
  std::uint64_t count = 0;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(folder);
  return count - 1;  // without the folder itself
}

void family(std::string& out, MetricsRegistry::Format format, const char* name, const char* type,
            const char* help, double value) {
  std::string shown = name;
  if (format == MetricsRegistry::Format::open_metrics && shown.ends_with("_total"))
    shown.resize(shown.size() - 6);
  char text[64];
  std::snprintf(text, sizeof text, "%.15g", value);
  out.append("# HELP ").append(shown).append(" ").append(help).append("\n");
  out.append("# TYPE ").append(shown).append(" ").append(type).append("\n");
  out.append(name).append(" ").append(text).append("\n");
}

}  // namespace

std::string process_metrics(MetricsRegistry::Format format) {
  std::string out;
  const auto fields = stat_fields();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  family(out, format, "process_cpu_seconds_total", "counter", "CPU time used, user and system",
         seconds(usage.ru_utime) + seconds(usage.ru_stime));
  family(out, format, "process_open_fds", "gauge", "Open file descriptors",
         static_cast<double>(open_descriptors()));
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  family(out, format, "process_max_fds", "gauge", "Limit of open file descriptors",
         static_cast<double>(files.rlim_cur));
  constexpr std::size_t threads = 17, start = 19, vsize = 20, rss = 21;  // proc(5): fields 20, 22, 23, 24
  if (fields.size() > rss) {
    family(out, format, "process_threads", "gauge", "Threads", std::strtod(fields[threads].c_str(), nullptr));
    family(out, format, "process_start_time_seconds", "gauge", "When the process started, in Unix seconds",
           start_time_seconds(fields[start]));
    family(out, format, "process_virtual_memory_bytes", "gauge", "Virtual memory",
           std::strtod(fields[vsize].c_str(), nullptr));
    family(out, format, "process_resident_memory_bytes", "gauge", "Resident memory",
           std::strtod(fields[rss].c_str(), nullptr) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  }
  family(out, format, "heddle_proxy_heap_allocated_bytes", "gauge",
         "Heap in use, without what the allocator keeps", static_cast<double>(allocated_bytes()));
  return out;
}

}  // namespace heddle::proxy
