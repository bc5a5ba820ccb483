// SPDX-License-Identifier: Apache-2.0
#include "proxy/io/stream.h"

namespace heddle::proxy {

IoResult Stream::write_last(std::span<const iovec> data) {
  std::size_t wanted = 0;
  for (const iovec& part : data) wanted += part.iov_len;
  const IoResult written = write(data);
  if (written.status == IoStatus::ok && written.size == wanted) finish_writes();
  return written;
}

}  // namespace heddle::proxy
