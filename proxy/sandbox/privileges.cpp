// SPDX-License-Identifier: Apache-2.0
#include "proxy/sandbox/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/io/file.h"

namespace heddle::proxy {
namespace {

Result<> clear_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2]{};
  if (::syscall(SYS_capset, &header, none) != 0) return make_errno(errno, "cannot drop capabilities");
  return {};
}

Result<> leave_root(uid_t uid) {
  // The bounding and ambient sets go first: that takes a capability itself.
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) {
    ::prctl(PR_CAPBSET_DROP,
            capability);  // EPERM without CAP_SETPCAP: a container's runtime bounded us already
  }
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (::setgroups(0, nullptr) != 0) return make_errno(errno, "cannot leave the supplementary groups");
  if (::setresgid(uid, uid, uid) != 0) return make_errno(errno, "cannot become group " + std::to_string(uid));
  if (::setresuid(uid, uid, uid) != 0) return make_errno(errno, "cannot become user " + std::to_string(uid));
  if (auto cleared = clear_capabilities(); !cleared) return cleared;
  if (::setuid(0) == 0) return make_error(Errc::internal, "root could be taken back after it was dropped");
  return {};
}

}  // namespace

Result<> make_owned_folder(const std::string& path, uid_t uid) {
  if (auto made = make_directories(path); !made) return made;
  if (::geteuid() != 0) return {};
  if (::chown(path.c_str(), uid, uid) != 0)
    return make_errno(errno, "cannot give " + path + " to the proxy's user");
  if (::chmod(path.c_str(), 0700) != 0) return make_errno(errno, "cannot set the mode of " + path);
  return {};
}

Result<> drop_privileges(uid_t uid) {
  if (::geteuid() == 0 && uid != 0) {
    if (auto left = leave_root(uid); !left) return left;
  } else if (::geteuid() == 0) {
    return make_error(Errc::invalid_argument, "the proxy never runs as root: choose another --uid");
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return make_errno(errno, "prctl(PR_SET_NO_NEW_PRIVS)");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return make_errno(errno, "prctl(PR_SET_DUMPABLE)");
  return {};
}

}  // namespace heddle::proxy
