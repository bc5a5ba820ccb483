// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/supervisor.h"

#include <signal.h>

namespace heddle::tools {

namespace json = boost::json;
using namespace std::chrono_literals;

Result<> Supervisor::start(Program& program) {
  auto pid = spawn(program.spawn);
  if (!pid) return pid.error();
  program.pid = *pid;
  program.started = Clock::now();
  program.stop_wanted = false;
  spdlog::info("program started name={} node={} pid={}", program.name, program.node, program.pid);
  return {};
}

Result<> Supervisor::add(const std::string& name, const std::string& node, SpawnSpec spawn) {
  programs_.push_back({name, node, std::move(spawn), 0, 0, false, {}, {}, 500ms, {}, {}});
  auto started = start(programs_.back());
  if (!started) programs_.pop_back();
  return started;
}

Supervisor::Program* Supervisor::find(const std::string& name, const std::string& node) {
  for (auto& program : programs_) {
    if (program.name == name && program.node == node) return &program;
  }
  return nullptr;
}

Result<> Supervisor::start_beside(const std::string& name, const std::string& node) {
  auto* program = find(name, node);
  if (!program) return make_error(Errc::not_found, "no " + name + " on node " + node);
  const pid_t old = program->pid;
  if (auto started = start(*program); !started) return started;
  ++program->restarts;
  if (old > 0) program->draining.push_back(old);
  return {};
}

Result<> Supervisor::restart(const std::string& name, const std::string& node, int signal) {
  auto* program = find(name, node);
  if (!program) return make_error(Errc::not_found, "no " + name + " on node " + node);
  program->stop_wanted = true;
  if (program->pid > 0) {
    ::kill(program->pid, signal);
  } else {
    program->due = Clock::now();
  }
  return {};
}

bool Supervisor::ended(pid_t pid, int status) {
  for (auto& program : programs_) {
    if (const auto at = std::find(program.draining.begin(), program.draining.end(), pid);
        at != program.draining.end()) {
      program.draining.erase(at);
      spdlog::info("replaced program ended name={} node={} pid={} {}", program.name, program.node, pid,
                   Exit{status}.to_string());
      return true;
    }
    if (program.pid != pid) continue;
    const auto now = Clock::now();
    program.pid = 0;
    program.last_exit = Exit{status}.to_string();
    if (now - program.started > 10s) program.backoff = 500ms;
    program.due = program.stop_wanted ? now : now + program.backoff;
    if (!program.stop_wanted) {
      spdlog::warn("program ended by itself name={} node={} pid={} {}; starting it again in {} ms",
                   program.name, program.node, pid, program.last_exit, program.backoff.count());
      program.backoff = std::min<std::chrono::milliseconds>(program.backoff * 2, 10s);
    }
    return true;
  }
  return false;
}

Supervisor::Clock::time_point Supervisor::tick(Clock::time_point now) {
  auto next = Clock::time_point::max();
  for (auto& program : programs_) {
    if (program.pid != 0) continue;
    if (program.due <= now) {
      ++program.restarts;
      if (auto started = start(program); !started) {
        spdlog::error("cannot start name={} node={}: {}", program.name, program.node,
                      started.error().message());
        program.due = now + 1s;
      }
    }
    if (program.pid == 0) next = std::min(next, program.due);
  }
  return next;
}

json::array Supervisor::state() const {
  json::array out;
  for (const auto& program : programs_) {
    json::array draining;
    for (const auto pid : program.draining) draining.push_back(pid);
    out.push_back(json::object{{"name", program.name},
                               {"node", program.node},
                               {"pid", program.pid},
                               {"restarts", program.restarts},
                               {"draining", std::move(draining)},
                               {"lastExit", program.last_exit}});
  }
  return out;
}

}  // namespace heddle::tools
