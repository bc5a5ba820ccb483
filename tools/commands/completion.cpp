// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/completion.h"

#include <CLI/CLI.hpp>

namespace heddle::tools {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

void collect(const CLI::App& app, const std::string& path, std::vector<CompletionEntry>& out) {
  CompletionEntry entry{path, {}, {}};
  std::vector<const CLI::App*> children;
  for (const auto* child : app.get_subcommands(nullptr)) {
    if (child->get_group().empty()) continue;  // hidden
    entry.subcommands.push_back(child->get_name());
    children.push_back(child);
  }
  for (const auto* option : app.get_options()) {
    if (option->get_positional() && option->get_lnames().empty()) continue;
    for (const auto& name : option->get_lnames()) entry.flags.push_back("--" + name);
    for (const auto& name : option->get_snames()) entry.flags.push_back("-" + name);
  }
  // The application's own flags may stand after any command, too.
  if (!path.empty())
    entry.flags.insert(entry.flags.end(), out.front().flags.begin(), out.front().flags.end());
  std::sort(entry.flags.begin(), entry.flags.end());
  entry.flags.erase(std::unique(entry.flags.begin(), entry.flags.end()), entry.flags.end());
  out.push_back(std::move(entry));
  for (const auto* child : children)
    collect(*child, path.empty() ? child->get_name() : path + " " + child->get_name(), out);
}

// bash, and zsh through its bashcompinit: the chain of commands is what precedes the word, flags left out.
// (Not called path, which in zsh is the list of folders of programs.)
std::string bash_script(const std::vector<CompletionEntry>& entries) {
  std::string out =
      "_heddle() {\n"
      "  local chain=\"\" word\n"
      "  for word in \"${COMP_WORDS[@]:1:$((COMP_CWORD-1))}\"; do\n"
      "    case \"$word\" in -*) ;; *) case \"$chain $word\" in\n";
  for (const auto& entry : entries) {
    for (const auto& sub : entry.subcommands) {
      out += "      \"" + (entry.path.empty() ? "" : " " + entry.path) + " " + sub +
             "\") chain=\"$chain $word\" ;;\n";
    }
  }
  out += "    esac ;; esac\n  done\n  local words=\"\"\n  case \"$chain\" in\n";
  for (const auto& entry : entries) {
    out += "    \"" + (entry.path.empty() ? "" : " " + entry.path) + "\") words=\"" +
           joined(entry.subcommands) + (entry.subcommands.empty() ? "" : " ") + joined(entry.flags) +
           "\" ;;\n";
  }
  out +=
      "  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
      "  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
      "complete -F _heddle heddle\n";
  return out;
}

std::string fish_script(const std::vector<CompletionEntry>& entries) {
  std::string out = "complete -c heddle -f\n";
  for (const auto& entry : entries) {
    const auto last = entry.path.substr(entry.path.rfind(' ') + 1);
    std::string condition =
        entry.path.empty() ? "__fish_use_subcommand" : "__fish_seen_subcommand_from " + last;
    if (!entry.path.empty() && !entry.subcommands.empty()) {
      condition += "; and not __fish_seen_subcommand_from " + joined(entry.subcommands);
    }
    if (!entry.subcommands.empty()) {
      out += "complete -c heddle -n '" + condition + "' -a '" + joined(entry.subcommands) + "'\n";
    }
    for (const auto& flag : entry.flags) {
      const bool is_long = flag.starts_with("--");
      out += "complete -c heddle -n '" + condition + "' " + (is_long ? "-l " : "-s ") +
             flag.substr(is_long ? 2 : 1) + "\n";
    }
  }
  return out;
}

}  // namespace

std::vector<CompletionEntry> completion_entries(const CLI::App& app) {
  std::vector<CompletionEntry> out;
  collect(app, "", out);
  return out;
}

Result<std::string> completion_script(const std::string& shell, const std::vector<CompletionEntry>& entries) {
  if (shell == "bash") return bash_script(entries);
  if (shell == "zsh") return "autoload -U +X bashcompinit && bashcompinit\n" + bash_script(entries);
  if (shell == "fish") return fish_script(entries);
  return make_error(Errc::invalid_argument, "no completion for shell " + shell + ": use bash, zsh or fish");
}

}  // namespace heddle::tools
