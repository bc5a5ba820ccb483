// SPDX-License-Identifier: Apache-2.0
#include "cni/installer.h"

#include <unistd.h>

#include <optional>

#include "base/io/file.h"
#include "cni/conf_folder.h"
#include "cni/log.h"

namespace heddle::cni {
namespace {

constexpr std::size_t max_binary_bytes = 256 * 1024 * 1024;

std::string binary_path(const InstallOptions& options) {
  return options.bin_dir + "/" + std::string(plugin_type);
}

Error about(const std::string& path, const Error& error) {
  return {error.code, path + ": " + error.detail};
}

// True when something was written. A running plugin keeps the old file: rename(2) leaves its inode alone.
Result<bool> copy_binary(const InstallOptions& options) {
  if (options.bin_dir.empty()) return false;
  const auto wanted = read_file(options.binary, max_binary_bytes);
  if (!wanted) return wanted.error();
  const std::string path = binary_path(options);
  remove_leftovers(options.bin_dir);
  if (const auto present = read_file(path, max_binary_bytes); present && *present == *wanted) {
    if (::access(path.c_str(), X_OK) == 0) return false;
  }
  if (auto made = make_directories(options.bin_dir); !made) return made.error();
  if (auto written = write_file_atomically(path, *wanted, 0755); !written) return written.error();
  return true;
}

// A .conf becomes a .conflist beside it; the runtime uses the .conf (it sorts first) until it is renamed
// away.
Result<InstallReport> convert(const InstallOptions& options, const std::string& name) {
  const std::string path = options.conf_dir + "/" + name;
  const std::string target = options.conf_dir + "/" + stem(name) + ".conflist";
  const auto conf = read_conf(path);
  if (!conf) return conf.error();
  if (exists(target)) {
    const auto present = read_conf(target);
    const auto ours = present ? has_plugin(present->text) : Result<bool>(false);
    if (!ours || !*ours) {
      return make_error(Errc::already_exists,
                        "both " + path + " and " + target + " exist; remove the one not in use");
    }
  }
  const auto list = list_from_conf(conf->text);
  if (!list) return about(path, list.error());
  const auto chained = add_plugin(*list, entry_text(options.entry));
  if (!chained) return about(path, chained.error());
  if (auto written = write_file_atomically(target, *chained, conf->mode); !written) return written.error();
  if (auto moved = rename_file(path, path + std::string(original_suffix)); !moved) return moved.error();
  return InstallReport{target, true, false};
}

Result<InstallReport> join(const InstallOptions& options, const std::string& name) {
  const std::string path = options.conf_dir + "/" + name;
  const auto file = read_conf(path);
  if (!file) return file.error();
  const auto chained = add_plugin(file->text, entry_text(options.entry));
  if (!chained) return about(path, chained.error());
  if (*chained == file->text) return InstallReport{path, false, false};
  if (const auto before = has_plugin(file->text); before && !*before) {
    auto saved = write_file_atomically(path + std::string(backup_suffix), file->text, file->mode);
    if (!saved) return saved.error();
  }
  if (auto replaced = replace_conf(*file, *chained); !replaced) return replaced.error();
  return InstallReport{path, true, false};
}

// The main network wrote its X.json again, which sorts after the X.conflist made of it: the runtime would go
// on with what it was before.
std::optional<std::string> written_anew(const InstallOptions& options, const std::string& list) {
  std::string single = stem(list) + ".json";
  const std::string path = options.conf_dir + "/" + single;
  if (!is_list(list) || !exists(path) || !exists(path + std::string(original_suffix))) return std::nullopt;
  return single;
}

// The network's name stays that of the main file: host-local and others keep their leases by it.
Result<InstallReport> own(const InstallOptions& options, const std::string& name) {
  const std::string path = options.conf_dir + "/" + name;
  const std::string target = options.conf_dir + "/" + std::string(own_list_name);
  if (name < own_list_name) {
    return make_error(Errc::unsupported,
                      path + " sorts before " + std::string(own_list_name) +
                          ", so runtimes would go on using it; rename it or drop --own-first");
  }
  const auto file = read_conf(path);
  if (!file) return file.error();
  auto list = is_list(name) ? Result<std::string>(file->text) : list_from_conf(file->text);
  if (!list) return about(path, list.error());
  const auto chained = add_plugin(*list, entry_text(options.entry));
  if (!chained) return about(path, chained.error());
  const auto present = read_conf(target);
  if (present && present->text == *chained && present->mode == file->mode)
    return InstallReport{target, false, false};
  if (auto written = write_file_atomically(target, *chained, file->mode); !written) return written.error();
  return InstallReport{target, true, false};
}

// Takes heddle out of one list; an emptied conversion gives its .conf back.
Result<> leave(const InstallOptions& options, const std::string& name) {
  const std::string path = options.conf_dir + "/" + name;
  const auto file = read_conf(path);
  if (!file) return file.error();
  const auto present = has_plugin(file->text);
  if (!present) {
    if (file->text.find(plugin_type) == std::string::npos)
      return {};  // broken, but not by us and not about us
    return about(path, present.error());
  }
  if (!*present) return remove_file(path + std::string(backup_suffix));  // of an uninstall that was killed
  const auto without = remove_plugin(file->text);
  if (!without) return about(path, without.error());
  for (const char* extension : {".conf", ".json"}) {
    const std::string single = options.conf_dir + "/" + stem(name) + extension;
    const auto original = read_conf(single + std::string(original_suffix));
    if (!original) continue;
    const auto converted = list_from_conf(original->text);
    if (!converted || *converted != *without || exists(single))
      continue;  // edited since: the list is the truth
    if (auto back = rename_file(single + std::string(original_suffix), single); !back) return back;
    return remove_file(path);
  }
  if (auto replaced = replace_conf(*file, *without); !replaced) return replaced;
  return remove_file(path + std::string(backup_suffix));
}

}  // namespace

Result<InstallReport> install(const InstallOptions& options) {
  const auto lock = lock_folder(options.conf_dir);
  if (!lock) return lock.error();
  remove_leftovers(options.conf_dir);
  const auto copied = copy_binary(options);  // first: a list must not name a plugin that is not there
  if (!copied) return copied.error();
  const auto names = configuration_names(options.conf_dir);
  if (!names) return names.error();
  const std::string own_list = options.conf_dir + "/" + std::string(own_list_name);
  if (names->empty()) {
    // Some networks take their file away while their program starts: were the copy gone too, pods would start
    // unmeshed from when that file is back.
    if (!options.own_first) {
      if (auto removed = remove_file(own_list); !removed) return removed.error();
    }
    return make_error(Errc::not_found,
                      "no network configuration in " + options.conf_dir +
                          "; install the main CNI plugin first, or use --watch to wait for it");
  }
  const std::string first = written_anew(options, names->front()).value_or(names->front());
  auto report = options.own_first ? own(options, first)
                : is_list(first)  ? join(options, first)
                                  : convert(options, first);
  if (!report) return report;
  if (!options.own_first) {
    if (auto removed = remove_file(own_list); !removed) return removed.error();
  }
  report->binary_changed = *copied;
  return report;
}

Result<> uninstall(const InstallOptions& options) {
  const auto lock = lock_folder(options.conf_dir);
  if (!lock) return lock.error();
  remove_leftovers(options.conf_dir);
  if (!options.bin_dir.empty()) remove_leftovers(options.bin_dir);
  const auto names = configuration_names(options.conf_dir);
  if (!names) return names.error();
  std::optional<Error> first_error;
  const auto note = [&](const Result<>& result) {
    if (result) return;
    log(LogLevel::error, result.error().message());
    if (!first_error) first_error = result.error();
  };
  note(remove_file(options.conf_dir + "/" + std::string(own_list_name)));
  for (const std::string& name : *names) {
    if (is_list(name)) note(leave(options, name));
  }
  // While a list still names the plugin, taking it away would stop every pod of the node.
  if (!first_error && !options.bin_dir.empty()) note(remove_file(binary_path(options)));
  if (first_error) return *first_error;
  return {};
}

}  // namespace heddle::cni
