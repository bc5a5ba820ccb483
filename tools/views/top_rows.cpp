// SPDX-License-Identifier: Apache-2.0
#include "tools/views/top_rows.h"

#include <algorithm>

#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

std::string first_of(const json::object& record, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (auto text = text_at(record, {name}); !text.empty()) return text;
  }
  return {};
}

}  // namespace

void TopRows::add(const json::object& record) {
  TopRow row;
  row.direction = text_at(record, {"direction"});
  if (row.direction.empty()) return;
  row.src = text_at(record, {"namespace"}) + "/" + text_at(record, {"pod"});
  row.dst = row.direction == "outbound" ? first_of(record, {"authority", "original_dst"})
                                        : first_of(record, {"peer_identity", "client"});
  // A client's port would make every connection a kind of its own.
  if (row.direction == "inbound" && text_at(record, {"peer_identity"}).empty()) {
    row.dst = row.dst.substr(0, row.dst.rfind(':'));
  }
  row.method = text_at(record, {"method"});
  row.path = text_at(record, {"path"});
  row.path = row.path.substr(0, row.path.find('?'));
  row.protocol = text_at(record, {"protocol"});
  const auto key = row.src + "\n" + row.direction + "\n" + row.dst + "\n" + row.method + "\n" + row.path +
                   "\n" + row.protocol;
  auto found = rows_.find(key);
  if (found == rows_.end()) {
    if (rows_.size() >= most_rows) {
      ++left_out_;
      return;
    }
    found = rows_.emplace(key, std::move(row)).first;
  }
  TopRow& kept = found->second;
  const auto* duration = record.if_contains("duration_us");
  const double ms = duration && duration->is_number() ? duration->to_number<double>() / 1000 : 0;
  kept.best_ms = kept.count == 0 ? ms : std::min(kept.best_ms, ms);
  kept.worst_ms = std::max(kept.worst_ms, ms);
  kept.last_ms = ms;
  ++kept.count;
  if (text_at(record, {"status"}).starts_with('5') || !text_at(record, {"error"}).empty()) ++kept.failed;
}

std::vector<TopRow> TopRows::rows(std::size_t limit) const {
  std::vector<TopRow> out;
  for (const auto& [key, row] : rows_) out.push_back(row);
  std::ranges::stable_sort(out, std::ranges::greater(), &TopRow::count);
  if (limit != 0 && out.size() > limit) out.resize(limit);
  return out;
}

}  // namespace heddle::tools
