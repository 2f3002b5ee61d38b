"""What backends that other processes can reach must do, beyond the contract of all."""

from backends import BackendError, create_backend
from backends.protocol import Backend, SlotRecord
from tests.conformance.backend_hooks import BackendHooks


class LendingContract(BackendHooks):
    """Subclasses say whether borrowers may write."""

    borrowers_write = True

    def test_a_borrower_finds_the_same_data(self, backend: Backend) -> None:
        """Whoever opens what `lend` tells reads what the lender wrote, then and later."""
        backend.record([SlotRecord("a", "x", b"0")])
        borrower = create_backend(backend.lend())
        backend.record([SlotRecord("a", "x", b"1")])
        assert borrower.buffer_get_thread("a") == [b"0", b"1"]
        assert borrower.registry_get_uuid("x") == "a"
        borrower.close()

    def test_a_borrower_writes_where_it_may(self, backend: Backend) -> None:
        """A borrower's slot joins the lender's; where it may not write it is told."""
        backend.buffer_append("a", b"0")
        borrower = create_backend(backend.lend())
        try:
            index = borrower.buffer_append("a", b"1")
        except BackendError:
            index = None
        assert index == (1 if self.borrowers_write else None)
        assert backend.buffer_thread_len("a") == (2 if self.borrowers_write else 1)
        borrower.close()

    def test_lending_twice_is_one_loan(self, backend: Backend) -> None:
        """Every borrower is told the same."""
        assert backend.lend() == backend.lend()
