// Rows picked from arrays, embeddings, dropout.
#include "ops/gather.h"

#include "python/bind.h"
#include "python/integers.h"

namespace fastseq {
namespace {

std::int64_t row_size(const py::array& a) {
  std::int64_t columns = 1;
  for (py::ssize_t axis = 1; axis < a.ndim(); ++axis) columns *= a.shape(axis);
  return columns;
}

SourceType source_type(const char* function, const char* argument, const py::array& a) {
  if (has_type<bool>(a)) return SourceType::boolean;
  if (has_type<float>(a)) return SourceType::float32;
  if (has_type<double>(a)) return SourceType::float64;
  if (has_type<std::uint8_t>(a)) return SourceType::uint8;
  if (has_type<std::int32_t>(a)) return SourceType::int32;
  check_type(has_type<std::int64_t>(a), function, argument,
             "be an array of bool, uint8, int32, int64, float32 or float64", [&] { return array_text(a); });
  return SourceType::int64;
}

void bind_gather_rows(const char* function, const py::array& source, const py::array& indices,
                      const py::array& out) {
  const SourceType type = source_type(function, "source", source);
  check_type(is_laid_out(source), function, "source", "be C-contiguous", "strided memory");
  check_value(source.ndim() >= 1, function, "source", "have rows", "shape ()");
  const Integers rows = integers(function, "indices", indices);
  check_value(indices.ndim() == 1, function, "indices", "have 1 dimension",
              [&] { return "shape " + shape_text(shape_of(indices)); });
  std::vector<std::int64_t> shape = shape_of(source);
  shape[0] = rows.count;
  check_value(
      shape_of(out) == shape, function, "out", [&] { return "have shape " + shape_text(shape); },
      [&] { return shape_text(shape_of(out)); });
  with_float_type(function, "out", out, [&](auto zero) {
    using T = decltype(zero);
    T* to = writable_elements<T>(function, "out", out);
    const GilDropped dropped(static_cast<double>(out.size()));
    gather_rows(function, "indices", type, source.data(), source.shape(0), row_size(source), rows, to);
  });
}

py::array bind_embedding(const py::array& ids, const py::array& table) {
  constexpr const char* function = "embedding_forward";
  return with_float_type(function, "table", table, [&](auto zero) -> py::array {
    using T = decltype(zero);
    const T* from = elements<T>(function, "table", table);
    check_value(table.ndim() == 2, function, "table", "have 2 dimensions",
                [&] { return "shape " + shape_text(shape_of(table)); });
    const Integers rows = integers(function, "ids", ids);
    std::vector<py::ssize_t> shape(ids.shape(), ids.shape() + ids.ndim());
    shape.push_back(table.shape(1));
    py::array_t<T> y = empty_of<T>(shape);
    T* to = y.mutable_data();
    constexpr SourceType type = sizeof(T) == 4 ? SourceType::float32 : SourceType::float64;
    const GilDropped dropped(static_cast<double>(y.size()));
    gather_rows(function, "ids", type, from, table.shape(0), table.shape(1), rows, to);
    return y;
  });
}

void bind_embedding_backward(const py::array& ids, const py::array& dy, const py::array& dtable) {
  constexpr const char* function = "embedding_backward";
  with_float_type(function, "into['table']", dtable, [&](auto zero) {
    using T = decltype(zero);
    T* to = writable_elements<T>(function, "into['table']", dtable);
    check_value(dtable.ndim() == 2, function, "into['table']", "have 2 dimensions",
                [&] { return "shape " + shape_text(shape_of(dtable)); });
    const T* from = elements<T>(function, "dy", dy);
    const Integers rows = integers(function, "ids", ids);
    const std::int64_t columns = dtable.shape(1);
    check_value(
        dy.ndim() == ids.ndim() + 1 && dy.size() == rows.count * columns, function, "dy",
        [&] {
          std::vector<std::int64_t> shape = shape_of(ids);
          shape.push_back(columns);
          return "have shape " + shape_text(shape);
        },
        [&] { return shape_text(shape_of(dy)); });
    const GilDropped dropped(static_cast<double>(dy.size()));
    scatter_add(function, "ids", rows, columns, from, to, dtable.shape(0));
  });
}

py::array bind_dropout(const char* function, const py::array& x, double rate, std::uint64_t seed) {
  return with_float_type(function, "x", x, [&](auto zero) -> py::array {
    using T = decltype(zero);
    const T* from = elements<T>(function, "x", x);
    py::array_t<T> y = empty_like<T>(x);
    T* to = y.mutable_data();
    const GilDropped dropped(static_cast<double>(x.size()));
    dropout(seed, rate, x.size(), from, to);
    return y;
  });
}

}  // namespace

void bind_gather(py::module_& m) {
  m.def("gather_rows", &bind_gather_rows, py::arg("function"), py::arg("source"), py::arg("indices"),
        py::arg("out"));
  m.def("embedding", &bind_embedding, py::arg("ids"), py::arg("table"));
  m.def("embedding_backward", &bind_embedding_backward, py::arg("ids"), py::arg("dy"), py::arg("dtable"),
        "Adds to dtable.");
  m.def("dropout", &bind_dropout, py::arg("function"), py::arg("x"), py::arg("rate"), py::arg("seed"));
}

}  // namespace fastseq
